"""What the scripts share: settings, and what is said when something is wrong."""
