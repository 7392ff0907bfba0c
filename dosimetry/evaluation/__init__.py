"""Engines judged against what is known: motion, activity, dose."""
