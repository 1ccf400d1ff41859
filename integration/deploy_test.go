package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const deployDir = "../deploy"

// composeFile is what the tests look at in compose.yaml.
type composeFile struct {
	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]any            `yaml:"volumes"`
}

type composeService struct {
	Image       string            `yaml:"image"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Volumes     []string          `yaml:"volumes"`
	DependsOn   map[string]any    `yaml:"depends_on"`
	Build       struct {
		Context    string `yaml:"context"`
		Dockerfile string `yaml:"dockerfile"`
	} `yaml:"build"`
	Deploy struct {
		Replicas int `yaml:"replicas"`
	} `yaml:"deploy"`
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	var compose composeFile
	if err := yaml.Unmarshal(readDeploy(t, "compose.yaml"), &compose); err != nil {
		t.Fatal(err)
	}
	return compose
}

func readDeploy(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(deployDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestComposeRefersToWhatIsThere wants three servers and three workers, and that
// every file, volume and service exists that compose.yaml names.
func TestComposeRefersToWhatIsThere(t *testing.T) {
	t.Parallel()
	compose := readCompose(t)
	servers := 0
	for name, service := range compose.Services {
		if strings.HasPrefix(service.Image, "nats:") {
			servers++
		}
		for _, volume := range service.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if strings.HasPrefix(source, "./") {
				readDeploy(t, source)
			} else if _, there := compose.Volumes[source]; !there {
				t.Errorf("service %s mounts volume %s, which is not declared", name, source)
			}
		}
		for other := range service.DependsOn {
			if _, there := compose.Services[other]; !there {
				t.Errorf("service %s depends on %s, which is not there", name, other)
			}
		}
	}
	worker := compose.Services["worker"]
	if servers != 3 || worker.Deploy.Replicas != 3 {
		t.Errorf("there are %d servers and %d workers, want 3 and 3", servers, worker.Deploy.Replicas)
	}
	if _, err := os.Stat(filepath.Join(deployDir, worker.Build.Context, worker.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	for url := range strings.SplitSeq(worker.Environment["ROUTER_WORKER_NATS_URL"], ",") {
		host, _, _ := strings.Cut(strings.TrimPrefix(url, "nats://"), ":")
		if _, there := compose.Services[host]; !there {
			t.Errorf("workers connect to %s, which is not there", host)
		}
	}
}

// TestDeployedConfigurationsAreValid has the programs check the files, with the
// environment that compose.yaml gives them.
func TestDeployedConfigurationsAreValid(t *testing.T) {
	t.Parallel()
	compose := readCompose(t)
	accept(t, nil, binaries.natsServer, "-t", "-c", filepath.Join(deployDir, "nats-server.conf"))
	for name, service := range compose.Services {
		if name == "worker" {
			accept(t, service.Environment, binaries.worker, "check", filepath.Join(deployDir, "router-worker.yaml"))
			continue
		}
		config := filepath.Join(deployDir, filepath.Base(service.Command[len(service.Command)-1]))
		if !slices.ContainsFunc(service.Volumes, func(v string) bool { return strings.HasSuffix(v, service.Command[1]+":ro") }) {
			t.Errorf("service %s is started with %s, which is not mounted", name, service.Command[1])
		}
		accept(t, service.Environment, binaries.natsServer, "-t", service.Command[0], config)
	}
	accept(t, nil, binaries.worker, "check", filepath.Join(deployDir, "router-worker.yaml"))
}

// accept runs a program that is to end with 0.
func accept(t *testing.T, environ map[string]string, program string, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, args...) //nolint:gosec // The programs are our own.
	command.Env = os.Environ()
	for name, value := range environ {
		command.Env = append(command.Env, name+"="+value)
	}
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", command, err, output)
	}
}

// TestDockerfile reads the instructions, since nothing here can run them: what is
// copied and built exists, Go is new enough, and the program is not run as root.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	dockerfile := string(readDeploy(t, "Dockerfile"))
	module, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	wanted := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(string(module))[1]
	if !strings.Contains(dockerfile, "FROM golang:"+wanted+" AS build\n") {
		t.Errorf("the image is not built with Go %s, which go.mod wants", wanted)
	}
	for _, copied := range regexp.MustCompile(`(?m)^COPY (go\.\S+ .*) \./$`).FindAllStringSubmatch(dockerfile, -1) {
		for name := range strings.FieldsSeq(copied[1]) {
			if _, err := os.Stat(filepath.Join("..", name)); err != nil {
				t.Error(err)
			}
		}
	}
	_, final, found := strings.Cut(dockerfile, "\nFROM scratch\n")
	if !found {
		t.Fatal("the image is not made from scratch")
	}
	for _, instruction := range []string{"USER 65532:65532", `ENTRYPOINT ["/router-worker"]`, `CMD ["run"]`, "COPY --from=build /router-worker /router-worker"} {
		if !strings.Contains(final, "\n"+instruction+"\n") {
			t.Errorf("the image lacks %s", instruction)
		}
	}
	config := regexp.MustCompile(`ROUTER_WORKER_CONFIG=(\S+)`).FindStringSubmatch(final)
	if mounts := readCompose(t).Services["worker"].Volumes; config == nil || !strings.HasSuffix(mounts[0], ":"+config[1]+":ro") {
		t.Errorf("the image reads %v, compose.yaml mounts %v", config, mounts)
	}
	build := regexp.MustCompile(`(?m)^RUN (CGO_ENABLED=0) go (build .*) -o /router-worker (\S+)$`).FindStringSubmatch(dockerfile)
	if build == nil {
		t.Fatal("the image does not build a static /router-worker")
	}
	if _, err := os.Stat(filepath.Join("..", build[3], "main.go")); err != nil {
		t.Error(err)
	}
}
