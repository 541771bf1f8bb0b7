"""The rules of PayServer (002): statuses, numbers, how pays and refunds are judged."""
