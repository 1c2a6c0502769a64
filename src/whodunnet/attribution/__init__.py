"""From kernel identities (pid, cgroup, netns) to workloads."""
