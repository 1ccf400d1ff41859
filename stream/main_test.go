package stream_test

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/presence-router/presence-router/internal/natstest"
)

// TestMain has twice as many tests run at once as there are processors, unless
// -parallel says otherwise: they wait for servers more than they compute.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	os.Exit(natstest.Main(m))
}
