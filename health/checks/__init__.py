"""The doctor's checks, a file for each subject."""
