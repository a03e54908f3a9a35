"""What a run says of itself: tables in the terminal."""
