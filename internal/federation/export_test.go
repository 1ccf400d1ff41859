package federation

// NewDialer is what clients connect with.
var NewDialer = dialer //nolint:gochecknoglobals // It stands for a function.
