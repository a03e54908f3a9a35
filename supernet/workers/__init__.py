"""Workers in processes of their own, on this machine or on many, by Ray (docs/cluster.md)."""
