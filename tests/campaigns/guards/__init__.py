"""`make campaign PART=guards`: each guard of the API, secrets, calls and data taken out of the code, and the test that must fail."""
