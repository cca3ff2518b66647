"""What a checkpoint says of an optimizer: its slots by variable, alpha and rates, what rules would do."""
