"""whodunnet: who is breaking this node's network, and how do we know?"""

__version__ = "0.1.0"
