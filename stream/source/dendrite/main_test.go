package dendrite_test

import (
	"os"
	"testing"

	"github.com/presence-router/presence-router/internal/natstest"
)

func TestMain(m *testing.M) { os.Exit(natstest.Main(m)) }
