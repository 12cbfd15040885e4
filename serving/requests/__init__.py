"""What requests say: bodies read within limits, parsed strictly, with every fault named."""
