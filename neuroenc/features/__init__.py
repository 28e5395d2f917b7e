"""What networks and classical models make of the stimuli."""
