"""How near each rule is to what the machine can do: steps against autograd's, and against their own products alone."""
