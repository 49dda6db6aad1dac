package layertest

import (
	"bytes"
	"math"
	"reflect"
	"strings"

	"github.com/channellayer/channellayer/layer"
)

func rule03() []check {
	return []check{
		{Rule: 3, Name: "Rule03Isolation/types_by_send", Both: true, Run: func(c *checker) { checkTypes(c, false) },
			Doc: "Values of every type, at their bounds, arrive as they were sent, with the same type."},
		{Rule: 3, Name: "Rule03Isolation/types_by_group_send", Both: true, Run: func(c *checker) { checkTypes(c, true) },
			Doc: "Values of every type, at their bounds, reach each member of a group with the same type."},
		{Rule: 3, Name: "Rule03Isolation/maker_changes_its_map", Both: true, Run: isolatedFromMaker,
			Doc: "What a maker changes after NewMessage, also deep inside, changes no message."},
		{Rule: 3, Name: "Rule03Isolation/receiver_changes_what_it_got", Both: true, Run: isolatedFromReceivers,
			Doc: "What one receiver does to the values it got changes neither the message nor what others get."},
		{Rule: 3, Name: "Rule03Isolation/invalid_message", Both: true, Run: invalidMessages,
			Doc: "Send and GroupSend refuse an invalid message with its error, deliver none of it, and disturb no other."},
		{Rule: 3, Name: "Rule03Isolation/empty_message", Both: true, Run: emptyMessages,
			Doc: "The zero Message and an empty one travel like others."},
	}
}

// A typed value, and what every receiver must see of it.
type typed struct {
	name     string
	in, want any
}

type (
	namedInt    int16
	namedString string
	namedBytes  []byte
)

func typedValues() []typed {
	everyByte := make([]byte, 256)
	for i := range everyByte {
		everyByte[i] = byte(i)
	}
	deep := any("bottom")
	for range 60 {
		deep = []any{map[string]any{"down": deep}}
	}
	same := func(name string, v any) typed { return typed{name, v, v} }
	values := []typed{
		same("nil", nil), same("true", true), same("false", false),
		same("empty string", ""), same("unicode", "žluťoučký 群 \U0001F600"), same("NUL", "a\x00b\x00"),
		same("control characters and quotes", "\r\n\t\"\\\u2028</script>"),
		same("large string", strings.Repeat("x", 70_000)),
		same("empty bytes", []byte{}), same("every byte", everyByte), same("1 MB", bytes.Repeat([]byte{0xff}, 1_000_000)),
		same("0.0", 0.0), same("whole float", 3.0), same("float", -1.5e300), same("smallest float", math.SmallestNonzeroFloat64),
		same("largest float", math.MaxFloat64), same("NaN", math.NaN()), same("+Inf", math.Inf(1)), same("-Inf", math.Inf(-1)),
		same("negative zero", math.Copysign(0, -1)),
		same("empty list", []any{}), same("empty map", map[string]any{}),
		same("list", []any{nil, true, int64(-1), 2.0, "s", []byte("b"), []any{}, map[string]any{}}),
		same("map", map[string]any{"": "empty key", "a": []any{map[string]any{"b": []byte{0}}}, "type": "x"}),
		same("deep", deep),
		{"int", 7, int64(7)}, {"uint8", uint8(200), int64(200)}, {"named int", namedInt(-3), int64(-3)},
		{"float32", float32(0.5), 0.5}, {"named string", namedString("s"), "s"}, {"named bytes", namedBytes{1}, []byte{1}},
		{"strings", []string{"a", "b"}, []any{"a", "b"}}, {"nil slice", []int(nil), []any{}}, {"nil map", map[string]int(nil), map[string]any{}},
		{"map of ints", map[string]int{"a": 1}, map[string]any{"a": int64(1)}}, {"array of bytes", [2]byte{1, 2}, []byte{1, 2}},
	}
	for _, bits := range []int{0, 5, 7, 8, 15, 16, 31, 32, 63} { // where encodings change their form
		edge := uint64(1) << bits
		for _, i := range []int64{int64(edge - 1), int64(edge), -int64(edge), -int64(edge) - 1} {
			values = append(values, same("integer", i))
		}
	}
	for _, n := range []int{15, 16, 31, 32, 255, 256, 65535, 65536} {
		values = append(values, same("string by length", strings.Repeat("y", n)), same("bytes by length", make([]byte, n)))
	}
	for _, n := range []int{15, 16, 2000} {
		list := make([]any, n)
		for i := range list {
			list[i] = int64(i)
		}
		values = append(values, same("list by length", list))
	}
	return values
}

func checkTypes(c *checker, group bool) {
	reader, writer := c.pair(layer.Limits{})
	channels := []string{reader.mustNewChannel()}
	if group {
		channels = append(channels, reader.mustNewChannel(), "jobs")
		reader.mustGroupAdd("room", channels...)
	}
	for _, v := range typedValues() {
		msg := layer.NewMessage(map[string]any{"v": v.in, "type": "value"})
		if err := msg.Err(); err != nil {
			c.fatalf("NewMessage refused %s: %v", v.name, err)
		}
		if group {
			writer.mustGroupSend("room", msg)
		} else {
			writer.mustSend(channels[0], msg)
		}
		for _, ch := range channels {
			got := reader.mustReceive(ch)
			value, _ := got.Get("v")
			if !sameValue(value, v.want) || got.Type() != "value" || got.Len() != 2 {
				c.errorf("%s: sent %.200v, Receive(%q) returned %.200v, want v: %.100T(%.100v)", v.name, msg, ch, got, v.want, v.want)
			}
			if !got.Equal(msg) || got.Size() != msg.Size() {
				c.errorf("%s: Receive(%q) returned a message of size %d that does not equal the sent one of size %d: %.200v", v.name, ch, got.Size(), msg.Size(), got)
			}
		}
	}
}

// sameValue compares values and types. NaN is NaN, and -0 is not 0.
func sameValue(a, b any) bool {
	if x, ok := a.(float64); ok {
		y, ok := b.(float64)
		return ok && (math.Float64bits(x) == math.Float64bits(y) || x != x && y != y)
	}
	return reflect.DeepEqual(a, b)
}

func isolatedFromMaker(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("room", ch)
	inner := map[string]any{"deep": "original"}
	list := []any{"original", inner}
	raw := []byte("original")
	fields := map[string]any{"s": "original", "list": list, "raw": raw, "inner": inner}
	want := layer.NewMessage(map[string]any{"s": "original", "raw": []byte("original"),
		"inner": map[string]any{"deep": "original"}, "list": []any{"original", map[string]any{"deep": "original"}}})

	msg := layer.NewMessage(fields)
	writer.mustSend(ch, msg)
	fields["s"], fields["new"], inner["deep"], list[0] = "changed", "changed", "changed", "changed"
	copy(raw, "changed!")
	writer.mustGroupSend("room", msg)
	reader.expectOnly(writer, ch, want, want)
}

func isolatedFromReceivers(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	channels := reader.mustNewChannels(3)
	reader.mustGroupAdd("room", channels...)
	build := func() layer.Message {
		return layer.NewMessage(map[string]any{"raw": []byte("original"), "list": []any{"original"}, "map": map[string]any{"k": []byte("original")}})
	}
	msg := build()
	writer.mustGroupSend("room", msg)
	for _, ch := range channels {
		got := reader.mustReceive(ch)
		if !got.Equal(build()) {
			c.errorf("Receive(%q) returned %v after another receiver changed what it got, want %v", ch, got, build())
		}
		copy(got.Bytes("raw"), "changed!")
		list, _ := got.Get("list")
		list.([]any)[0] = "changed"
		all := got.Map()
		all["new"] = "changed"
		copy(all["map"].(map[string]any)["k"].([]byte), "changed!")
		for _, v := range got.All() {
			if m, ok := v.(map[string]any); ok {
				delete(m, "k")
			}
		}
		if !got.Equal(build()) || !msg.Equal(build()) {
			c.errorf("after a receiver changed what accessors returned, it holds %v and the sender %v, want %v", got, msg, build())
		}
	}
}

func invalidMessages(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("room", ch, "jobs")
	deep := any(1)
	for range layer.MaxDepth + 1 {
		deep = []any{deep}
	}
	bad := map[string]any{
		"a struct":          struct{ A int }{1},
		"a pointer":         new(int),
		"a channel":         make(chan int),
		"a function":        func() {},
		"a large unsigned":  uint64(math.MaxInt64) + 1,
		"not UTF-8":         "\xff",
		"nested too deep":   deep,
		"too many values":   make([]bool, layer.MaxValues+1),
		"a map by integers": map[int]string{1: "a"},
	}
	messages := map[string]layer.Message{
		"a reserved key":     layer.NewMessage(map[string]any{layer.ReservedKey: "x"}),
		"a key not UTF-8":    layer.NewMessage(map[string]any{"\xff": 1}),
		"a nested bad value": layer.NewMessage(map[string]any{"user": map[string]any{"joined": struct{}{}}}),
	}
	for name, v := range bad {
		messages[name] = layer.NewMessage(map[string]any{"v": v})
	}
	for name, msg := range messages {
		writer.mustSend(ch, text("before"))
		for op, err := range map[string]error{
			"Send":                        writer.send(ch, msg),
			"Send to a normal channel":    writer.send("jobs", msg),
			"GroupSend":                   writer.groupSend("room", msg),
			"GroupSend to an empty group": writer.groupSend("nobody", msg),
		} {
			if problem := wantError(err, layer.ErrInvalidMessage, layer.ErrNotSent); problem != "" {
				c.errorf("%s of a message with %s: %s", op, name, problem)
			}
		}
		reader.expectOnly(writer, ch, text("before"))
		reader.expectEmpty(writer, "jobs")
	}
}

func emptyMessages(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("room", ch)
	for name, msg := range map[string]layer.Message{"the zero Message": {}, "an empty message": layer.NewMessage(nil)} {
		writer.mustSend(ch, msg)
		writer.mustGroupSend("room", msg)
		for range 2 {
			got, err := reader.receive(ch, arriveLimit)
			if err != nil || got.Len() != 0 || !got.Equal(msg) {
				c.errorf("%s: Receive(%q) returned %v, error %v, want an empty message", name, ch, got, err)
			}
		}
	}
	reader.expectEmpty(writer, ch)
}
