"""Many patients: each run in a process of its own, here or on a cluster; a failure is a row, not the end."""
