package resp

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// socket reads and writes a TCP or Unix connection by system calls of which Go's
// scheduler is not told. It is told of others so that it can run something else
// when they block; these do not block. In a process that is otherwise idle, as
// that of a lone sender is between two sends, every call that it is told of first
// wakes a thread that looks after blocked ones (sysmon): half of the CPU time of a
// round trip, and on its way.
type socket struct {
	net.Conn
	raw syscall.RawConn

	// Of the read or write under way. There is one of each at a time.
	in, out         []byte
	read            int
	readErr, outErr syscall.Errno
	tryRead         func(fd uintptr) (done bool)
	tryWrite        func(fd uintptr) (done bool)
}

// How many bytes a call may move unknown to the scheduler: so many take some
// 20 µs. What is written goes through the whole of TCP meanwhile, up to the reader.
const (
	maxDirectRead  = 64 << 10
	maxDirectWrite = 16 << 10
)

// direct returns what reads and writes the connection.
func direct(c net.Conn) io.ReadWriter {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return c // TLS, or somebody's own
	}
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return c
	}
	s := &socket{Conn: c, raw: raw}
	s.tryRead, s.tryWrite = s.readOnce, s.writeOnce
	return s
}

func (s *socket) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	s.in = b[:min(len(b), maxDirectRead)]
	err := s.raw.Read(s.tryRead)
	s.in = nil
	switch {
	case err != nil:
		return 0, err
	case s.readErr != 0:
		return 0, os.NewSyscallError("read", s.readErr)
	case s.read == 0:
		return 0, io.EOF
	}
	return s.read, nil
}

func (s *socket) readOnce(fd uintptr) (done bool) {
	for {
		n, _, err := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&s.in[0])), uintptr(len(s.in)))
		s.read, s.readErr = int(n), err
		if err != syscall.EINTR {
			return err != syscall.EAGAIN
		}
	}
}

func (s *socket) Write(b []byte) (int, error) {
	if len(b) == 0 || len(b) > maxDirectWrite {
		return s.Conn.Write(b)
	}
	s.out = b
	err := s.raw.Write(s.tryWrite)
	written := len(b) - len(s.out)
	s.out = nil
	if err == nil && s.outErr != 0 {
		err = os.NewSyscallError("write", s.outErr)
	}
	return written, err
}

func (s *socket) writeOnce(fd uintptr) (done bool) {
	for len(s.out) > 0 {
		n, _, err := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&s.out[0])), uintptr(len(s.out)))
		s.outErr = err
		switch err {
		case 0:
			s.out = s.out[n:]
		case syscall.EINTR:
		default:
			return err != syscall.EAGAIN
		}
	}
	return true
}
