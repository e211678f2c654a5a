"""What each function asks of Google Cloud, and what it is granted."""
