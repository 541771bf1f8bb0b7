"""Old parts of tables that only grow, as Parquet files with manifests: written, proved, found again."""
