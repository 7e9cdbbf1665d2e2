"""Customer.io: the Track API (writes) and the App API (reads). `connection.connect` opens both."""
