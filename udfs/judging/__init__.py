"""What other policies would have been worth, by what came of the one that drew, and how sure that is."""
