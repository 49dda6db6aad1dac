//go:build !linux

package resp

import (
	"io"
	"net"
)

// direct returns what reads and writes the connection.
func direct(c net.Conn) io.ReadWriter { return c }
