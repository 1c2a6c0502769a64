"""The only code that touches the machine. Everything takes its roots as arguments."""
