package layer

import (
	"encoding"
	"reflect"
	"strconv"
)

// Decode stores the message in what dst points to: usually a struct, or a map
// with string keys. It takes the values as they are, without JSON between, so
// that bytes, NaN and large integers arrive whole.
//
// A field of a struct has the name that its tag `json:"name"` gives it, or
// else its Go name; "-" leaves it out. Where no key has that name, one that
// differs only in case counts. The fields of embedded structs belong to the
// outer struct, as encoding/json has it. Keys without a field are ignored, and
// fields without a key stay as they are.
//
//   - An integer goes into any integer type that can hold it, and into a float
//     that can hold it exactly; a float64 goes into floats only.
//   - A string goes into strings, and into types that implement
//     [encoding.TextUnmarshaler], such as [time.Time].
//   - Bytes go into slices and arrays of bytes. A slice goes into slices, which
//     it replaces, and arrays; an array must have as many elements.
//   - A map goes into structs, into maps with string keys, to which it adds,
//     and into a Message.
//   - Any value goes into an any, as [Message.Get] returns it, and into a
//     pointer to where it fits; a nil pointer is set to a new value.
//   - nil sets pointers, maps, slices and interfaces to nil, and leaves all
//     else as it is.
//
// dst keeps nothing of the message. The error matches [ErrDecode] and names
// the path to the first value that did not fit; dst is then filled in part.
// For an invalid message it is what Err returns.
func (m Message) Decode(dst any) error {
	if err := m.Err(); err != nil {
		return err
	}
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return misfit("into %T, which is not a pointer to a value", dst).error("decode")
	}
	if bad := decode(v.Elem(), m.fields()); bad != nil {
		return bad.error("decode")
	}
	return nil
}

func misfit(format string, args ...any) *badValue {
	return newBad(ErrDecode, format, args...)
}

func doesNotFit(src any, dst reflect.Value) *badValue {
	var name string
	switch src.(type) {
	case blob:
		name = "[]byte"
	case list:
		name = "[]any"
	case dict:
		name = "map[string]any"
	default:
		name = reflect.TypeOf(src).String()
	}
	return misfit("%s into %s", name, dst.Type())
}

// maxPointers is how many pointers to pointers Decode follows: a type may be a
// pointer to itself.
const maxPointers = 8

// decode stores src, a value inside a message, in dst, which can be set.
func decode(dst reflect.Value, src any) *badValue {
	if src == nil {
		switch dst.Kind() {
		case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
			dst.SetZero()
		}
		return nil
	}
	for depth := 0; dst.Kind() == reflect.Pointer; depth++ {
		if depth == maxPointers {
			return doesNotFit(src, dst)
		}
		if dst.IsNil() {
			dst.Set(reflect.New(dst.Type().Elem()))
		}
		dst = dst.Elem()
	}
	if dst.Kind() == reflect.Interface && dst.NumMethod() == 0 {
		dst.Set(reflect.ValueOf(export(src)))
		return nil
	}
	switch src := src.(type) {
	case bool:
		if dst.Kind() == reflect.Bool {
			dst.SetBool(src)
			return nil
		}
	case int64:
		return decodeInt(dst, src)
	case float64:
		return decodeFloat(dst, src)
	case string:
		return decodeString(dst, src)
	case blob:
		return decodeBytes(dst, src)
	case list:
		return decodeList(dst, src)
	case dict:
		return decodeDict(dst, src)
	}
	return doesNotFit(src, dst)
}

func decodeInt(dst reflect.Value, i int64) *badValue {
	fits := false
	switch {
	case dst.CanInt():
		if fits = !dst.OverflowInt(i); fits {
			dst.SetInt(i)
		}
	case dst.CanUint():
		if fits = i >= 0 && !dst.OverflowUint(uint64(i)); fits {
			dst.SetUint(uint64(i))
		}
	case dst.CanFloat():
		f := float64(i)
		if dst.Kind() == reflect.Float32 {
			f = float64(float32(i))
		}
		// 1<<63 is the one float here that int64 cannot hold.
		if fits = f < 1<<63 && int64(f) == i; fits {
			dst.SetFloat(f)
		}
	default:
		return doesNotFit(i, dst)
	}
	if !fits {
		return misfit("integer %d into %s, which cannot hold it", i, dst.Type())
	}
	return nil
}

func decodeFloat(dst reflect.Value, f float64) *badValue {
	if !dst.CanFloat() {
		return doesNotFit(f, dst)
	}
	if dst.OverflowFloat(f) {
		return misfit("float %s into %s, which cannot hold it", strconv.FormatFloat(f, 'g', -1, 64), dst.Type())
	}
	dst.SetFloat(f)
	return nil
}

func decodeString(dst reflect.Value, s string) *badValue {
	if t, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := t.UnmarshalText([]byte(s)); err != nil {
			return misfit("string into %s: %w", dst.Type(), err)
		}
		return nil
	}
	if dst.Kind() != reflect.String {
		return doesNotFit(s, dst)
	}
	dst.SetString(s)
	return nil
}

func decodeBytes(dst reflect.Value, b blob) *badValue {
	isSlice := dst.Kind() == reflect.Slice
	if !isSlice && dst.Kind() != reflect.Array || dst.Type().Elem().Kind() != reflect.Uint8 {
		return doesNotFit(b, dst)
	}
	if isSlice {
		dst.Set(reflect.MakeSlice(dst.Type(), len(b), len(b)))
	} else if dst.Len() != len(b) {
		return misfit("%d bytes into %s", len(b), dst.Type())
	}
	reflect.Copy(dst, reflect.ValueOf(b))
	return nil
}

func decodeList(dst reflect.Value, l list) *badValue {
	switch dst.Kind() {
	case reflect.Slice:
		// Not the old array: whoever else holds it would see it change.
		dst.Set(reflect.MakeSlice(dst.Type(), len(l), len(l)))
	case reflect.Array:
		if dst.Len() != len(l) {
			return misfit("%d values into %s", len(l), dst.Type())
		}
	default:
		return doesNotFit(l, dst)
	}
	for i, e := range l {
		if bad := decode(dst.Index(i), e); bad != nil {
			return bad.under(indexStep(i))
		}
	}
	return nil
}

func decodeDict(dst reflect.Value, d dict) *badValue {
	switch {
	case dst.Type() == reflect.TypeFor[Message]():
		return decodeMessage(dst, d)
	case dst.Kind() == reflect.Struct:
		return decodeStruct(dst, d)
	case dst.Kind() == reflect.Map && dst.Type().Key().Kind() == reflect.String:
		return decodeMap(dst, d)
	}
	return doesNotFit(d, dst)
}

func decodeMessage(dst reflect.Value, d dict) *badValue {
	if _, ok := d.find(ReservedKey); ok {
		return misfit("the key is reserved").under(keyStep(ReservedKey))
	}
	dst.Set(reflect.ValueOf(Message{&content{fields: d, size: sizeOf(d)}}))
	return nil
}

func decodeMap(dst reflect.Value, d dict) *badValue {
	t := dst.Type()
	if dst.IsNil() {
		dst.Set(reflect.MakeMapWithSize(t, len(d)))
	}
	for _, f := range d {
		element := reflect.New(t.Elem()).Elem()
		if bad := decode(element, f.value); bad != nil {
			return bad.under(keyStep(f.key))
		}
		dst.SetMapIndex(reflect.ValueOf(f.key).Convert(t.Key()), element)
	}
	return nil
}

func decodeStruct(dst reflect.Value, d dict) *badValue {
	fields := fieldsOf(dst.Type())
	for i := range fields.list {
		f, ok := fields.matching(d, fields.list[i].name)
		if !ok {
			continue
		}
		if bad := decode(settable(dst, fields.list[i].index), f.value); bad != nil {
			return bad.under(keyStep(f.key))
		}
	}
	return nil
}

// settable returns the field at the index, and sets the nil pointers to
// embedded structs on the way to new ones.
func settable(v reflect.Value, index []int) reflect.Value {
	for i, x := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	return v
}
