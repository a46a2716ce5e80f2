"""The chapters of the book, each named as its notebook, and what they share."""
