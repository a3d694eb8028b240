"""The prediction log: every prediction as a row, written off the request's way."""
