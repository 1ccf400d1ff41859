package federation_test

import (
	"crypto/tls"
	"io"
	"log"
)

func tlsConfig(certificate tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
