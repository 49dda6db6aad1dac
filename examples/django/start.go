//go:build unix

package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// startTime is how long a program may take until it serves.
const startTime = 30 * time.Second

// startRedis starts a redis-server that keeps nothing, on a free port of the
// loopback interface, and returns its URL when it answers.
func startRedis(ctx context.Context, programs *programs) (url string, err error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := free.Addr().(*net.TCPAddr)
	free.Close()
	err = programs.start(exec.Command("redis-server", "--bind", addr.IP.String(), "--port", strconv.Itoa(addr.Port),
		"--save", "", "--appendonly", "no", "--dir", programs.dir, "--loglevel", "warning"))
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%w (on Debian: apt-get install redis-server); or use -redis with the URL of another one", err)
	}
	if err != nil {
		return "", err
	}
	client := redis.NewClient(&redis.Options{Addr: addr.String(), MaxRetries: -1})
	defer client.Close()
	err = await(ctx, "redis-server", func(ctx context.Context) error {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			return err // go-redis would print it, too
		}
		conn.Close()
		return client.Ping(ctx).Err()
	})
	return "redis://" + addr.String() + "/0", err
}

//go:embed all:mysite
var mysite embed.FS

// startDjango starts daphne with the Django project, and returns when it
// serves. It hands the listener to daphne: nobody can take the port meanwhile.
func startDjango(ctx context.Context, programs *programs, python string, listener *net.TCPListener, redisURL string) error {
	python, err := findPython(ctx, python)
	if err != nil {
		return err
	}
	project, err := fs.Sub(mysite, "mysite")
	if err != nil {
		return err
	}
	dir := filepath.Join(programs.dir, "mysite")
	if err := os.CopyFS(dir, project); err != nil {
		return err
	}
	socket, err := listener.File()
	if err != nil {
		return err
	}
	defer socket.Close()
	const fd = 3 // of the first of ExtraFiles
	daphne := exec.Command(python, "-m", "daphne", "--verbosity", "0", "--fd", strconv.Itoa(fd), "mysite.asgi:application")
	daphne.Dir = dir
	daphne.ExtraFiles = []*os.File{socket}
	daphne.Env = append(os.Environ(), "DJANGO_SETTINGS_MODULE=mysite.settings", "REDIS_URL="+redisURL)
	if err := programs.start(daphne); err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return await(ctx, "daphne", func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listener.Addr().String()+"/", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
}

// findPython returns a Python that has what the Django project needs. A python3
// of the user's own often lacks what the distribution's has.
func findPython(ctx context.Context, wanted string) (string, error) {
	candidates := []string{wanted}
	if wanted == "" {
		candidates = []string{"python3", "/usr/bin/python3"}
	}
	var why error
	for _, python := range candidates {
		out, err := exec.CommandContext(ctx, python, "-c", "import channels, channels_redis, daphne, django").CombinedOutput()
		if err == nil {
			return python, nil
		}
		why = errors.Join(why, fmt.Errorf("%s: %w\n%s", python, err, out))
	}
	return "", fmt.Errorf("no Python with daphne, channels and channels_redis (on Debian: apt-get install python3-daphne python3-django-channels python3-channels-redis):\n%w", why)
}

// await asks until there is an answer, or ctx or startTime ends.
func await(ctx context.Context, what string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last: %w)", what, ctx.Err(), err)
		}
	}
}
