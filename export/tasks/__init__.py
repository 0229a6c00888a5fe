"""What each task's answers are worth: its metric against the truth, and its agreement with the trained model's."""
