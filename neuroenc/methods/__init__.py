"""What a run says of itself: the methods section of its paper, with its parameters, and what to cite."""
