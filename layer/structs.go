package layer

import (
	"reflect"
	"slices"
	"strings"
	"sync"
)

// structFields are the fields of a struct type that Decode fills.
type structFields struct {
	list  []structField
	names map[string]bool
}

type structField struct {
	name   string
	index  []int // as for reflect.Value.FieldByIndex
	tagged bool
}

// structTypes caches structFields by reflect.Type.
var structTypes sync.Map

func fieldsOf(t reflect.Type) *structFields {
	if s, ok := structTypes.Load(t); ok {
		return s.(*structFields)
	}
	s := &structFields{names: map[string]bool{}}
	for _, f := range dominant(collectFields(t, nil, nil, nil)) {
		s.list = append(s.list, f)
		s.names[f.name] = true
	}
	cached, _ := structTypes.LoadOrStore(t, s)
	return cached.(*structFields)
}

// matching finds the field of a message for the struct's field of that name.
// A key that is the name of one struct field is not taken for another that
// differs from it in case.
func (s *structFields) matching(d dict, name string) (field, bool) {
	if v, ok := d.find(name); ok {
		return field{name, v}, true
	}
	for _, f := range d {
		if strings.EqualFold(f.key, name) && !s.names[f.key] {
			return f, true
		}
	}
	return field{}, false
}

// collectFields appends the fields of t, which lies at index within the
// outermost struct, and those of the structs it embeds. outer holds the types
// around it: a struct may embed a pointer to its own type.
func collectFields(t reflect.Type, index []int, outer []reflect.Type, fields []structField) []structField {
	if slices.Contains(outer, t) {
		return fields
	}
	outer = append(slices.Clip(outer), t)
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Tag.Get("json") == "-" {
			continue
		}
		at := append(slices.Clip(index), i)
		if inner, ok := embedded(f); ok && name == "" {
			fields = collectFields(inner, at, outer, fields)
			continue
		}
		if !f.IsExported() {
			continue
		}
		tagged := name != ""
		if !tagged {
			name = f.Name
		}
		fields = append(fields, structField{name, at, tagged})
	}
	return fields
}

// embedded returns the struct type that f embeds. A pointer to an unexported
// one does not count: nothing outside its package can set it.
func embedded(f reflect.StructField) (reflect.Type, bool) {
	t := f.Type
	if !f.Anonymous {
		return nil, false
	}
	if t.Kind() == reflect.Pointer && f.IsExported() {
		t = t.Elem()
	}
	return t, t.Kind() == reflect.Struct && t != reflect.TypeFor[Message]()
}

// dominant leaves one field of each name: the least deeply embedded, of those
// the one with a tag; none where that does not decide.
func dominant(fields []structField) []structField {
	var out []structField
	for _, f := range fields {
		beaten := slices.ContainsFunc(fields, func(g structField) bool {
			return g.name == f.name && !slices.Equal(g.index, f.index) && !f.beats(g)
		})
		if !beaten {
			out = append(out, f)
		}
	}
	return out
}

func (f structField) beats(g structField) bool {
	if len(f.index) != len(g.index) {
		return len(f.index) < len(g.index)
	}
	return f.tagged && !g.tagged
}
