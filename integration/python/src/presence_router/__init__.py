"""Work with the presence router: publish, ask, read and route Matrix presence over NATS."""
