package bench

import (
	"encoding/xml"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// The measures of a chart, in pixels.
const (
	chartWidth  = 420
	chartHeight = 250
	plotLeft    = 44
	plotTop     = 52
	plotBottom  = 196
	plotRight   = chartWidth - 12
)

// The colours of a chart can be told from a light and from a dark page.
const (
	inkColour    = "#7d8590"
	workerColour = "#3b82f6"
	serverColour = "#d97706"
)

// WriteCharts writes a chart for each curve into dir, which is made.
func (r GrowthReport) WriteCharts(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make the directory of the charts: %w", err)
	}
	for _, c := range r.Curves {
		name := fmt.Sprintf("growth-%s-%s.svg", c.Name, c.Storage)
		if c.Replicas > 1 {
			name = fmt.Sprintf("growth-%s-%s-r%d.svg", c.Name, c.Storage, c.Replicas)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(c.SVG()), 0o644); err != nil { //nolint:gosec // A chart is for everybody.
			return fmt.Errorf("write chart: %w", err)
		}
	}
	return nil
}

// SVG returns the curve as a chart: for each value a bar of what the worker and the
// server cost, and above it how many pairs were done per second.
func (c Curve) SVG() string {
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" font-family="sans-serif" font-size="11" fill="%s">`+"\n",
		chartWidth, chartHeight, inkColour)
	write(&svg, plotLeft, 16, "start", "CPU-seconds per million pairs, by "+c.Title)
	legend(&svg, plotLeft, workerColour, "worker")
	legend(&svg, plotLeft+70, serverColour, "server")
	write(&svg, plotRight, 34, "end", "above: pairs/s")
	top := c.scale(&svg)
	width := float64(plotRight-plotLeft) / float64(len(c.Points))
	for i, p := range c.Points {
		p.bar(&svg, plotLeft+width*(float64(i)+0.5), width*0.5, top)
	}
	write(&svg, (plotLeft+plotRight)/2, chartHeight-18, "middle", c.Title)
	svg.WriteString("</svg>\n")
	return svg.String()
}

// scale draws the lines of the scale and returns the value at its top.
func (c Curve) scale(svg *strings.Builder) float64 {
	highest := 0.0
	for _, p := range c.Points {
		highest = max(highest, p.Figures.WorkerCPU+p.Figures.ServerCPU)
	}
	const lines = 4
	step := round(highest / lines)
	for i := range lines + 1 {
		y := plotBottom - float64(plotBottom-plotTop)*float64(i)/lines
		fmt.Fprintf(svg, `<path d="M%d %.1fH%d" stroke="%s" stroke-opacity="0.3"/>`+"\n", plotLeft, y, plotRight, inkColour)
		write(svg, plotLeft-6, y+4, "end", fmt.Sprintf("%g", step*float64(i)))
	}
	return step * lines
}

// round returns the first of 1, 2, 2.5, 5 or 10 times a power of ten that value does
// not exceed.
func round(value float64) float64 {
	if value <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(value)))
	for _, factor := range []float64{1, 2, 2.5, 5} {
		if value <= factor*power {
			return factor * power
		}
	}
	return 10 * power
}

func (p Point) bar(svg *strings.Builder, middle, width, top float64) {
	y := float64(plotBottom)
	for _, part := range []struct {
		value  float64
		colour string
	}{{p.Figures.WorkerCPU, workerColour}, {p.Figures.ServerCPU, serverColour}} {
		height := part.value / top * (plotBottom - plotTop)
		y -= height
		fmt.Fprintf(svg, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", middle-width/2, y, width, height, part.colour)
	}
	write(svg, middle, y-5, "middle", rate(p.Figures.Pairs))
	write(svg, middle, plotBottom+16, "middle", rate(float64(p.Value)))
}

func legend(svg *strings.Builder, x float64, colour, text string) {
	fmt.Fprintf(svg, `<rect x="%.1f" y="25" width="10" height="10" fill="%s"/>`+"\n", x, colour)
	write(svg, x+15, 34, "start", text)
}

func write(svg *strings.Builder, x, y float64, anchor, text string) {
	fmt.Fprintf(svg, `<text x="%.1f" y="%.1f" text-anchor="%s">`, x, y, anchor)
	_ = xml.EscapeText(svg, []byte(text)) // A strings.Builder takes everything.
	svg.WriteString("</text>\n")
}
