"""C3D (Tran et al. 2015, arXiv 1412.0767): eight 3x3x3 convolutions, no batch norm."""

from torch import Tensor, nn


class C3D(nn.Module):
    """(N, 3, 16, H, W) -> (N, classes) for clips of H = W = ``size`` pixels, 112 in the paper.

    ``width`` channels after the first convolution (64), ``hidden`` in the Linear layers (4096).
    """

    def __init__(self, width: int = 64, hidden: int = 4096, classes: int = 487, size: int = 112) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, 3, padding=1)
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.conv2 = nn.Conv3d(width, 2 * width, 3, padding=1)
        self.pool2 = nn.MaxPool3d(2)
        self.conv3a = nn.Conv3d(2 * width, 4 * width, 3, padding=1)
        self.conv3b = nn.Conv3d(4 * width, 4 * width, 3, padding=1)
        self.pool3 = nn.MaxPool3d(2)
        self.conv4a = nn.Conv3d(4 * width, 8 * width, 3, padding=1)
        self.conv4b = nn.Conv3d(8 * width, 8 * width, 3, padding=1)
        self.pool4 = nn.MaxPool3d(2)
        self.conv5a = nn.Conv3d(8 * width, 8 * width, 3, padding=1)
        self.conv5b = nn.Conv3d(8 * width, 8 * width, 3, padding=1)
        self.pool5 = nn.MaxPool3d(2, padding=(0, 1, 1))
        side = size // 16 // 2 + 1
        self.fc6 = nn.Linear(8 * width * side**2, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, classes)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        x = self.pool1(self.relu(self.conv1(x)))
        x = self.pool2(self.relu(self.conv2(x)))
        x = self.pool3(self.relu(self.conv3b(self.relu(self.conv3a(x)))))
        x = self.pool4(self.relu(self.conv4b(self.relu(self.conv4a(x)))))
        x = self.pool5(self.relu(self.conv5b(self.relu(self.conv5a(x)))))
        x = self.dropout(self.relu(self.fc6(x.flatten(1))))
        return self.fc8(self.dropout(self.relu(self.fc7(x))))
