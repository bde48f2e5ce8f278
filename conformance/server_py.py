"""A Streamable HTTP server on the official Python SDK: `python server_py.py PORT`."""

import sys

from mcp.server import MCPServer

server = MCPServer("skep-test")


@server.tool()
def add(a: int, b: int) -> str:
    """Adds two numbers."""
    return str(a + b)


if __name__ == "__main__":
    server.run(transport="streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
