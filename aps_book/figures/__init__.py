"""Figures of the book, by kind; ``style`` holds what they share."""
