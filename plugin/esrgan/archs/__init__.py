"""Networks in plain torch. Parameter names are those of BasicSR."""
