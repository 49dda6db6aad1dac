package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"strconv"
	"time"
)

// encryption is a server's port for TLS, and the one certificate that is the
// server's, its clients', and the authority's that they trust.
type encryption struct {
	port int
	tls  *tls.Config
}

// TLS returns the host:port at which a server whose Config says so answers by
// TLS, and what a client needs for that: its own certificate, which the server
// requires, and that of the authority. The caller may change the tls.Config.
func (s *Server) TLS() (addr string, config *tls.Config) {
	return loopback(s.encryption.port), s.encryption.tls.Clone()
}

// encrypt makes a certificate, and returns the lines of redis.conf for it.
func (s *Server) encrypt() ([]string, error) {
	port, err := s.box.pickPort()
	if err != nil {
		return nil, err
	}
	certificate, key, err := certify()
	if err != nil {
		return nil, err
	}
	certificateFile, keyFile := s.path("tls.crt"), s.path("tls.key")
	if err := os.WriteFile(certificateFile, certificate, 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(certificate)
	s.encryption = encryption{port, &tls.Config{RootCAs: trusted, Certificates: []tls.Certificate{pair}}}
	return []string{
		fmt.Sprintf("tls-port %d", port),
		"tls-cert-file " + strconv.Quote(certificateFile),
		"tls-key-file " + strconv.Quote(keyFile),
		"tls-ca-cert-file " + strconv.Quote(certificateFile),
	}, nil
}

// certify makes a certificate for 127.0.0.1, signed by itself, and its key, as
// files have them.
func certify() (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), nil
}
