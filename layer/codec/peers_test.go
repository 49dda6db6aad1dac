package codec_test

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/channellayer/channellayer/internal/testneed"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

// A round is a message of up to some thousand values.
const rounds = 500

func TestAgainstVmihailenco(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := newRandom(seed)
	for i := range rounds {
		msg := r.message()
		require.NoError(t, msg.Err())

		// Marshal writes int64 in full and map keys in any order.
		wire, err := msgpack.Marshal(msg.Map())
		require.NoError(t, err)
		got, err := codec.Decode(wire)
		require.NoError(t, err)
		require.Equal(t, msg.Size(), got.Size(), "round %d: %.2000x", i, wire)
		require.True(t, msg.Equal(got), "round %d: sent %.1000v as %.2000x, decoded %.1000v", i, msg, wire, got)

		wire, err = codec.Append(nil, msg)
		require.NoError(t, err)
		require.Len(t, wire, msg.Size())
		dec := msgpack.NewDecoder(strings.NewReader(string(wire)))
		dec.UseLooseInterfaceDecoding(false)
		fields, err := dec.DecodeMap()
		require.NoError(t, err)
		// It decodes int8, uint8 and so on, which NewMessage takes.
		back := layer.NewMessage(fields)
		require.True(t, msg.Equal(back), "round %d: encoded %.1000v as %.2000x, which it reads as %.1000v", i, msg, wire, back)
	}
}

func TestAgainstPython(t *testing.T) {
	py := startPython(t)

	t.Run("values", func(t *testing.T) {
		seed := uint64(time.Now().UnixNano())
		r := newRandom(seed)
		messages := []layer.Message{{}}
		for _, form := range forms {
			messages = append(messages, layer.NewMessage(map[string]any{"v": form.value}))
		}
		deep := any(map[string]any{})
		for range layer.MaxDepth - 2 {
			deep = []any{deep}
		}
		messages = append(messages, layer.NewMessage(map[string]any{"v": deep}))
		for range rounds {
			messages = append(messages, r.message())
		}
		for i, msg := range messages {
			require.NoError(t, msg.Err())
			wire, err := codec.Append(nil, msg)
			require.NoError(t, err)

			theirs, pyErr := py.ask('e', []byte(literal(msg.Map())))
			require.NoError(t, pyErr, "seed %d, message %d: %.1000v", seed, i, msg)
			require.True(t, string(wire) == string(theirs), "seed %d, message %d: %.1000v\nhere:   %.2000x\nPython: %.2000x", seed, i, msg, wire, theirs)

			got, err := codec.Decode(theirs)
			require.NoError(t, err)
			require.True(t, msg.Equal(got), "seed %d, message %d: Python was told %.1000v, and wrote %.1000v", seed, i, msg, got)

			again, pyErr := py.ask('u', wire)
			require.NoError(t, pyErr, "seed %d, message %d: %.1000v", seed, i, msg)
			require.True(t, string(wire) == string(again), "seed %d, message %d: %.1000v\nhere: %.2000x\nread and written by Python: %.2000x", seed, i, msg, wire, again)
		}
	})

	t.Run("forms", func(t *testing.T) {
		for _, form := range forms {
			wire := append([]byte("\x81\xa1v"), unhex(t, form.hex)...)
			checkAgainst(t, py, wire)
		}
	})

	// The seed is fixed: where bytes and strings are the same key here and two
	// to Python, the two may differ in which is the last.
	t.Run("damaged", func(t *testing.T) {
		const damages = 10_000
		r := newRandom(1)
		accepted := 0
		for range damages {
			msg := layer.NewMessage(map[string]any{"type": "chat", "v": r.value(2)})
			wire, err := codec.Append(nil, msg)
			require.NoError(t, err)
			if len(wire) > 1000 {
				wire = wire[:1000]
			}
			for range 1 + r.IntN(3) {
				wire[r.IntN(len(wire))] = byte(oneOf(r, r.IntN(256), 0x80+r.IntN(0x80), 0xc0+r.IntN(0x20)))
			}
			if checkAgainst(t, py, wire) {
				accepted++
			}
		}
		require.Greater(t, accepted, damages/20, "almost nothing was accepted: the test tests little")
	})
}

// ours are the reasons to refuse what Python reads.
var ours = []string{"not a map", "outside int64", "extension types", "nested deeper", "is reserved"}

// checkAgainst checks that Python reads what Decode takes, as the same message,
// and refuses what Decode refuses but for a reason of our own. It reports
// whether Decode takes it.
func checkAgainst(t *testing.T, py *python, wire []byte) bool {
	t.Helper()
	msg, err := codec.Decode(wire)
	theirs, pyErr := py.ask('u', wire)
	if err != nil {
		if pyErr == nil && !slices.ContainsFunc(ours, func(reason string) bool { return strings.Contains(err.Error(), reason) }) {
			t.Fatalf("%x: Decode says %v, Python reads %x", wire, err, theirs)
		}
		return false
	}
	if pyErr != nil {
		t.Fatalf("%x: Decode reads %v, Python says %v", wire, msg, pyErr)
	}
	back, err := codec.Decode(theirs)
	if err != nil || !msg.Equal(back) {
		t.Fatalf("%x: Decode reads %v; Python reads %v (%v)", wire, msg, back, err)
	}
	return true
}

// literal writes a value as a Python expression, keys in order.
func literal(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return map[bool]string{true: "True", false: "False"}[v]
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return fmt.Sprintf("struct.unpack('>d', bytes.fromhex('%016x'))[0]", math.Float64bits(v))
	case string:
		return strconv.QuoteToASCII(v)
	case []byte:
		return "bytes.fromhex('" + hex.EncodeToString(v) + "')"
	case []any:
		out := make([]string, len(v))
		for i, e := range v {
			out[i] = literal(e)
		}
		return "[" + strings.Join(out, ",") + "]"
	case map[string]any:
		out := make([]string, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out = append(out, literal(key)+":"+literal(v[key]))
		}
		return "{" + strings.Join(out, ",") + "}"
	}
	panic(fmt.Sprintf("a message holds no %T", v))
}

// python is a process that runs testdata/peer.py.
type python struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func startPython(t *testing.T) *python {
	t.Helper()
	cmd := exec.Command(findPython(t), filepath.Join("testdata", "peer.py"))
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close() // it ends then
		if err := cmd.Wait(); err != nil {
			t.Errorf("Python: %v", err)
		}
	})
	return &python{t, in, bufio.NewReader(out)}
}

// findPython returns an interpreter that has msgpack. The first in PATH may be
// another than the one that the system's packages belong to.
func findPython(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3", "python"} {
		if exec.Command(name, "-c", "import msgpack; assert msgpack.version >= (1, 0)").Run() == nil {
			return name
		}
	}
	testneed.Missing(t, "a Python that can import msgpack", "on Debian: apt-get install python3-msgpack")
	return ""
}

// ask returns Python's answer, or its exception as an error.
func (p *python) ask(letter byte, body []byte) ([]byte, error) {
	p.t.Helper()
	_, err := p.in.Write(append(binary.BigEndian.AppendUint32([]byte{letter}, uint32(len(body))), body...))
	require.NoError(p.t, err)
	head := make([]byte, 5)
	_, err = io.ReadFull(p.out, head)
	require.NoError(p.t, err)
	answer := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err = io.ReadFull(p.out, answer)
	require.NoError(p.t, err)
	if head[0] != '+' {
		return nil, fmt.Errorf("Python: %s", answer)
	}
	return answer, nil
}
