"""`make demo`: real tables to three BI tools through the shipped functions, then read back through the vendors' APIs."""
