def cases(broker): return []
