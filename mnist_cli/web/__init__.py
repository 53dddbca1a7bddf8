"""One page that asks questions, served to the browsers of this machine and to nobody else.

Knows no torch, no network and no terminal: what a question's bytes mean is the business of the
function that answers them.
"""
