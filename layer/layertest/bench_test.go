package layertest

import "testing"

func BenchmarkMemlayer(b *testing.B) { Benchmark(b, memory()) }
