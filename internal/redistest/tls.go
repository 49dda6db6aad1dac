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
	"path/filepath"
	"strconv"
	"time"
)

// encryption is a server's port for TLS, and what its clients need for that.
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

// TLS returns where the nodes of a cluster whose Config says so answer by TLS,
// and what a client needs for that, as [Server.TLS] does. The nodes send a client
// elsewhere in the way in which it came: by TLS, or without it.
func (c *Cluster) TLS() (addrs []string, config *tls.Config) {
	for _, node := range c.nodes {
		addr, tls := node.TLS()
		addrs, config = append(addrs, addr), tls
	}
	return addrs, config
}

// encrypt returns the lines of redis.conf for a port for TLS.
func (s *Server) encrypt() ([]string, error) {
	port, err := s.box.pickPort()
	if err != nil {
		return nil, err
	}
	config, err := s.box.trust()
	if err != nil {
		return nil, err
	}
	s.encryption = encryption{port, config}
	certificate, key := s.box.trusted()
	return []string{
		fmt.Sprintf("tls-port %d", port),
		"tls-cert-file " + strconv.Quote(certificate),
		"tls-key-file " + strconv.Quote(key),
		"tls-ca-cert-file " + strconv.Quote(certificate),
	}, nil
}

// nodePort is the port by which other nodes of a cluster know the server: that
// for TLS, if it has one. Their own port is so much above it.
func (s *Server) nodePort() int {
	if s.config.TLS {
		return s.encryption.port
	}
	return s.port
}

// trusted returns the files of the one certificate that in a sandbox is the
// servers', their clients', and the authority's that they trust.
func (s *sandbox) trusted() (certificate, key string) {
	return filepath.Join(s.dir, "tls.crt"), filepath.Join(s.dir, "tls.key")
}

// makeTrusted makes those files, and returns what a client needs.
func (s *sandbox) makeTrusted() (*tls.Config, error) {
	certificate, key, err := certify()
	if err != nil {
		return nil, err
	}
	certificateFile, keyFile := s.trusted()
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
	return &tls.Config{RootCAs: trusted, Certificates: []tls.Certificate{pair}}, nil
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
