"""The plan: a pure function ``snapshot, now -> Plan``. Records in, actions out; the controller acts."""
