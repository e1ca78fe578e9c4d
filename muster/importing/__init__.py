"""Reading what others have recorded, as commands of this ledger: NDJSON, CSV, XLSX, and the pages of FTS."""
