"""Any tracker's record, read as our events by a declaration: see conf/FORMATS.md."""
