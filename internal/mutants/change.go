package main

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// mutant is one change.
type mutant struct {
	number   int // that the variable MUTANT has while it is tested, from 1
	file     string
	line     int
	function string
	from, to string // "" for a statement that is left out

	lives bool // no test found it
}

// key tells mutants apart wherever the lines stand.
func (m *mutant) key() string {
	return fmt.Sprintf("%s %s: %s -> %s", m.file, m.function, m.from, m.to)
}

// chosen is the variable of the package that says which mutant is tested.
const chosen = "mutantChosen"

// changer puts all mutants of a package into its code, each behind a condition: they are
// compiled once.
type changer struct {
	set     *token.FileSet
	info    *types.Info
	pkg     *types.Package
	mutants []*mutant

	// Of the file in hand.
	file     *file
	function string
	edits    []edit
}

// edit is text that is put into a file.
type edit struct {
	at    int // offset
	order int // of edits at one place: what ends something comes first, the inner end before the outer one
	text  string
}

func (c *changer) change(f *file) {
	c.file, c.edits = f, nil
	for _, declaration := range f.syntax.Decls {
		d, ok := declaration.(*ast.FuncDecl)
		if !ok || d.Body == nil {
			continue
		}
		c.function = nameOf(d)
		ast.Inspect(d.Body, func(n ast.Node) bool {
			c.visit(n)
			return true
		})
	}
	slices.SortStableFunc(c.edits, func(a, b edit) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.order, b.order)) })
	var changed bytes.Buffer
	done := 0
	for _, e := range c.edits {
		changed.Write(f.source[done:e.at])
		changed.WriteString(e.text)
		done = e.at
	}
	changed.Write(f.source[done:])
	f.changed = changed.Bytes()
}

func nameOf(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	receiver := d.Recv.List[0].Type
	for {
		switch r := receiver.(type) {
		case *ast.StarExpr:
			receiver = r.X
		case *ast.IndexExpr:
			receiver = r.X
		case *ast.Ident:
			return r.Name + "." + d.Name.Name
		default:
			return d.Name.Name
		}
	}
}

func (c *changer) visit(n ast.Node) {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		c.binary(n)
	case *ast.CallExpr:
		c.call(n)
	case *ast.IfStmt:
		c.condition(n.Cond)
	case *ast.BlockStmt:
		c.statements(n.List)
	case *ast.CaseClause:
		c.statements(n.Body)
	case *ast.CommClause:
		c.statements(n.Body)
	}
}

// operators are what each may be changed into.
func operators(t token.Token) []token.Token {
	switch t {
	case token.LSS:
		return []token.Token{token.LEQ, token.GEQ}
	case token.LEQ:
		return []token.Token{token.LSS, token.GTR}
	case token.GTR:
		return []token.Token{token.GEQ, token.LEQ}
	case token.GEQ:
		return []token.Token{token.GTR, token.LSS}
	case token.EQL:
		return []token.Token{token.NEQ}
	case token.NEQ:
		return []token.Token{token.EQL}
	case token.LAND:
		return []token.Token{token.LOR}
	case token.LOR:
		return []token.Token{token.LAND}
	case token.ADD:
		return []token.Token{token.SUB}
	case token.SUB:
		return []token.Token{token.ADD}
	case token.ADD_ASSIGN:
		return []token.Token{token.SUB_ASSIGN}
	case token.SUB_ASSIGN:
		return []token.Token{token.ADD_ASSIGN}
	case token.MUL, token.REM:
		return []token.Token{token.QUO}
	case token.QUO:
		return []token.Token{token.MUL}
	case token.AND, token.XOR:
		return []token.Token{token.OR}
	case token.OR, token.AND_NOT:
		return []token.Token{token.AND}
	case token.SHL:
		return []token.Token{token.SHR}
	case token.SHR:
		return []token.Token{token.SHL}
	default:
		return nil
	}
}

func (c *changer) binary(n *ast.BinaryExpr) {
	var variants []string
	for _, operator := range operators(n.Op) {
		variants = append(variants, c.text(n.X)+" "+operator.String()+" "+c.text(n.Y))
	}
	c.expression(n, variants)
}

// call changes the smallest into the largest and the other way round.
func (c *changer) call(n *ast.CallExpr) {
	name, ok := n.Fun.(*ast.Ident)
	if !ok || n.Ellipsis.IsValid() {
		return
	}
	var other string
	switch c.info.Uses[name] {
	case types.Universe.Lookup("min"):
		other = "max"
	case types.Universe.Lookup("max"):
		other = "min"
	default:
		return
	}
	c.expression(n, []string{other + strings.TrimPrefix(c.text(n), name.Name)})
}

// expression has n be one of the variants if that is chosen.
func (c *changer) expression(n ast.Expr, variants []string) {
	found := c.info.Types[n]
	if len(variants) == 0 || found.Value != nil {
		return
	}
	name, ok := c.typeName(found.Type)
	if !ok {
		return
	}
	var front strings.Builder
	fmt.Fprintf(&front, "func() %s { ", name)
	for _, variant := range variants {
		fmt.Fprintf(&front, "if %s == %d { return %s }; ", chosen, c.add(n, c.text(n), variant), variant)
	}
	front.WriteString("return ")
	c.wrap(n, front.String(), " }()")
}

// typeName returns how the file names a type; false where it cannot, or where operators
// have no opposite.
func (c *changer) typeName(t types.Type) (string, bool) {
	basic, isBasic := t.Underlying().(*types.Basic)
	switch {
	case !isBasic || basic.Info()&types.IsString != 0:
		return "", false
	case basic.Kind() == types.UntypedBool:
		return "bool", true
	case basic.Info()&types.IsUntyped != 0:
		return "", false
	}
	known := true
	name := types.TypeString(t, func(p *types.Package) string {
		if p == c.pkg {
			return ""
		}
		for _, i := range c.file.syntax.Imports {
			if i.Name == nil && strings.Trim(i.Path.Value, `"`) == p.Path() {
				return p.Name()
			}
		}
		known = false
		return ""
	})
	return name, known
}

// condition changes a condition that has no operator into its opposite.
func (c *changer) condition(n ast.Expr) {
	if _, hasOperator := n.(*ast.BinaryExpr); hasOperator {
		return
	}
	c.wrap(n, fmt.Sprintf("(%s == %d) != (", chosen, c.add(n, c.text(n), "!("+c.text(n)+")")), ")")
}

// statements leaves statements out, and changes those that count.
func (c *changer) statements(list []ast.Stmt) {
	for _, n := range list {
		switch n := n.(type) {
		case *ast.ExprStmt:
			if call, ok := n.X.(*ast.CallExpr); ok && !c.isPanic(call) {
				c.statement(n, "")
			}
		case *ast.IncDecStmt:
			other := map[token.Token]string{token.INC: "--", token.DEC: "++"}[n.Tok]
			c.statement(n, c.text(n.X)+other)
		case *ast.AssignStmt:
			c.assignment(n)
		}
	}
}

func (c *changer) isPanic(n *ast.CallExpr) bool {
	name, ok := n.Fun.(*ast.Ident)
	return ok && c.info.Uses[name] == types.Universe.Lookup("panic")
}

func (c *changer) assignment(n *ast.AssignStmt) {
	switch n.Tok {
	case token.DEFINE:
	case token.ASSIGN:
		c.statement(n, "")
	default:
		variants := []string{""}
		if _, counts := c.typeName(c.info.Types[n.Lhs[0]].Type); counts {
			for _, operator := range operators(n.Tok) {
				variants = append(variants, c.text(n.Lhs[0])+" "+operator.String()+" "+c.text(n.Rhs[0]))
			}
		}
		c.statement(n, variants...)
	}
}

// statement has n be one of the variants if that is chosen, "" to leave it out.
func (c *changer) statement(n ast.Stmt, variants ...string) {
	var front strings.Builder
	fmt.Fprintf(&front, "switch %s { ", chosen)
	for _, variant := range variants {
		fmt.Fprintf(&front, "case %d: %s; ", c.add(n, c.text(n), variant), variant)
	}
	front.WriteString("default: ")
	c.wrap(n, front.String(), " }")
}

func (c *changer) add(n ast.Node, from, to string) (number int) {
	m := &mutant{
		number: len(c.mutants) + 1, file: c.file.name, line: c.set.Position(n.Pos()).Line, function: c.function,
		from: inOneLine(from), to: inOneLine(to),
	}
	c.mutants = append(c.mutants, m)
	return m.number
}

func inOneLine(code string) string { return strings.Join(strings.Fields(code), " ") }

func (c *changer) wrap(n ast.Node, front, back string) {
	order := len(c.edits) + 1
	c.edits = append(c.edits,
		edit{at: c.offset(n.Pos()), order: order, text: front},
		edit{at: c.offset(n.End()), order: -order, text: back})
}

func (c *changer) text(n ast.Node) string {
	return string(c.file.source[c.offset(n.Pos()):c.offset(n.End())])
}

func (c *changer) offset(p token.Pos) int { return c.set.Position(p).Offset }
