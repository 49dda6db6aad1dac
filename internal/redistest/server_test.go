//go:build unix

package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestWhatRestartKeeps(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		config Config
		down   func(*Server)
		empty  bool
		want   string // the value of a key that was set to "old", saved if RDB, then set to "new"
	}{
		{"nothing persisted, killed", Config{}, (*Server).Kill, false, ""},
		{"nothing persisted, stopped", Config{}, (*Server).Stop, false, ""},
		{"AOF, killed", Config{AOF: true}, (*Server).Kill, false, "new"},
		{"AOF, stopped", Config{AOF: true}, (*Server).Stop, false, "new"},
		{"AOF, restarted while running", Config{AOF: true}, func(*Server) {}, false, "new"},
		{"AOF, restarted empty", Config{AOF: true}, (*Server).Kill, true, ""},
		{"RDB, killed", Config{RDB: true}, (*Server).Kill, false, "old"},
		{"RDB, stopped", Config{RDB: true}, (*Server).Stop, false, "new"},
		{"RDB, stopped while paused", Config{RDB: true}, func(s *Server) { s.Pause(); s.Stop() }, false, "new"},
		{"RDB, restarted empty", Config{RDB: true}, (*Server).Stop, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := Start(t, test.config)
			addr, pid := s.Addr(), s.PID()
			require.NoError(t, s.do(t.Context(), "SET", "key", "old").Err())
			if test.config.RDB {
				require.NoError(t, s.do(t.Context(), "SAVE").Err())
			}
			require.NoError(t, s.do(t.Context(), "SET", "key", "new").Err())
			test.down(s)
			if test.empty {
				s.RestartEmpty(t)
			} else {
				s.Restart(t)
			}
			require.Equal(t, addr, s.Addr(), "the address changed")
			require.NotEqual(t, pid, s.PID(), "the process is the same")
			require.False(t, alive(pid), "the old process %d still runs", pid)
			value, err := s.Client(t).Get(t.Context(), "key").Result()
			if err != redis.Nil {
				require.NoError(t, err)
			}
			require.Equal(t, test.want, value, "the key after the restart")
		})
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	s := Start(t, Config{})
	client := s.Client(t)
	require.NoError(t, client.Ping(t.Context()).Err())
	s.Pause()
	conn, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err, "a paused server should still accept")
	defer conn.Close()
	_, err = conn.Write([]byte("PING\r\n"))
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	reply := make([]byte, 16)
	_, err = conn.Read(reply)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "a paused server answered %q", reply)
	s.Resume()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(readyTimeout)))
	n, err := conn.Read(reply)
	require.NoError(t, err)
	require.Equal(t, "+PONG\r\n", string(reply[:n]), "the answer after Resume")
}

func TestDownServerIgnoresSignals(t *testing.T) {
	t.Parallel()
	s := Start(t, Config{})
	s.Kill()
	require.Zero(t, s.PID())
	s.Kill()
	s.Stop()
	s.Pause()
	s.Resume()
	require.Error(t, s.do(t.Context(), "PING").Err())
}

func TestConfig(t *testing.T) {
	t.Parallel()
	s := Start(t, Config{
		MaxMemory:       "5mb",
		MaxMemoryPolicy: "volatile-lru",
		Password:        `with "quotes" and spaces`,
		Users:           []string{"guest on >secret ~bus:* +get"},
		Extra:           []string{"maxclients 57"},
	})
	memory := s.Info(t, "memory")
	require.Equal(t, "5242880", memory["maxmemory"])
	require.Equal(t, "volatile-lru", memory["maxmemory_policy"])
	require.Equal(t, "57", s.Info(t, "clients")["maxclients"])

	options, err := redis.ParseURL(s.URL())
	require.NoError(t, err)
	options.Username, options.Password = "guest", "secret"
	guest := redis.NewClient(options)
	defer guest.Close()
	require.ErrorIs(t, guest.Get(t.Context(), "bus:key").Err(), redis.Nil)
	require.ErrorContains(t, guest.Set(t.Context(), "bus:key", "", 0).Err(), "NOPERM")

	options, err = redis.ParseURL(s.URL())
	require.NoError(t, err)
	withURL := redis.NewClient(options)
	defer withURL.Close()
	require.NoError(t, withURL.Ping(t.Context()).Err(), "with the password of %s", s.URL())
}

func TestDefaultUserSwitchedOff(t *testing.T) {
	t.Parallel()
	s := Start(t, Config{Users: []string{"default off", "bus on >secret ~* +@all"}})
	require.ErrorContains(t, s.Client(t).Ping(t.Context()).Err(), "NOAUTH")
}

func TestStartTriesAnotherPort(t *testing.T) {
	t.Parallel()
	other := Start(t, Config{}) // answers PING like the one that is awaited
	box := newSandbox(t)
	var tried []int
	box.pickPort = func() (int, error) {
		port := other.port
		if len(tried) > 1 {
			var err error
			port, err = freePort()
			require.NoError(t, err)
		}
		tried = append(tried, port)
		return port, nil
	}
	s, err := box.launch(t, "redis", Config{})
	require.NoError(t, err)
	require.Len(t, tried, 3)
	require.Equal(t, tried[2], s.port)
	require.NotEqual(t, other.Addr(), s.Addr())
}

func TestServerThatCannotStartShowsItsLog(t *testing.T) {
	t.Parallel()
	_, err := newSandbox(t).launch(t, "redis", Config{Extra: []string{"no-such-setting 1"}})
	require.ErrorContains(t, err, "no-such-setting 1")
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"running", "paused", "down", "without janitor"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			box, err := openSandbox()
			require.NoError(t, err)
			s, err := box.launch(t, "redis", Config{AOF: true})
			require.NoError(t, err)
			pid := s.PID()
			switch state {
			case "paused":
				s.Pause()
			case "down":
				s.Kill()
			case "without janitor":
				require.NoError(t, box.janitor.Process.Kill())
			}
			require.NoError(t, box.close())
			require.False(t, alive(pid), "redis-server %d still runs", pid)
			require.False(t, alive(box.janitor.Process.Pid), "the janitor still runs")
			require.NoDirExists(t, box.dir)
		})
	}
}

// A test process that dies without its cleanups leaves nothing either. It is
// this test binary, run once more as deathEnv says.
func TestDeadTestLeavesNothing(t *testing.T) {
	if how := os.Getenv(deathEnv); how != "" {
		die(t, how)
	}
	t.Parallel()
	for _, how := range []string{"SIGKILL", "exit", "panic elsewhere", "timeout", "SIGKILL while paused"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestDeadTestLeavesNothing$", "-test.timeout=3s")
			cmd.Env = append(os.Environ(), deathEnv+"="+how)
			output, err := cmd.Output()
			require.Error(t, err, "the test process was to die, and printed:\n%s", output)
			line, _, _ := strings.Cut(string(output), "\n")
			var pid int
			var dir string
			_, err = fmt.Sscanf(line, "pid %d dir %s", &pid, &dir)
			require.NoError(t, err, "the test process printed:\n%s", output)
			require.NoError(t, await(t.Context(), func(context.Context) error {
				if alive(pid) {
					return fmt.Errorf("redis-server %d still runs", pid)
				}
				if _, err := os.Stat(dir); err == nil {
					return fmt.Errorf("%s still exists", dir)
				}
				return nil
			}))
		})
	}
}

const deathEnv = "REDISTEST_DEATH"

func die(t *testing.T, how string) {
	s := Start(t, Config{AOF: true})
	fmt.Printf("pid %d dir %s\n", s.PID(), s.box.dir)
	switch how {
	case "SIGKILL while paused":
		s.Pause()
		fallthrough
	case "SIGKILL":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "exit":
		os.Exit(1)
	case "panic elsewhere":
		go panic("as wanted")
	}
	select {} // until the timeout, or the signal
}

// alive reports whether a process runs; one that merely was not reaped by its
// parent does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}
