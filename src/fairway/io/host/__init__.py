"""Files, folders watched for changes, processes, sysctls, clock."""
